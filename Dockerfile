# The appliance's image. Two stages: the first installs into /opt/appliance, the second takes that folder and nothing else.
#
#   docker build -t rlhf-appliance --build-arg TORCH_INDEX=<the index that pytorch.org names for CUDA 12.6> .
#   docker build -t rlhf-appliance:cpu --build-arg TORCH=torch==2.13.0 --build-arg CUDA=cpu .
#
# No CUDA base image: the wheels bring CUDA's user space, and such a base refuses to start on older drivers.
ARG BASE=python:3.12-slim-bookworm

FROM ${BASE} AS build
ARG TORCH=torch==2.13.0+cu126
ARG TORCH_INDEX=
ARG CUDA=12.6
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PYTHONDONTWRITEBYTECODE=1
RUN python3 -m venv /opt/appliance
# wheels/ may hold packages for a site without an index: what pip finds there it does not fetch.
COPY constraints.txt wheel[s]/*.whl /src/
ENV PIP_FIND_LINKS=/src
RUN /opt/appliance/bin/pip install ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} "$TORCH"
# Dependencies first: they change less often than the code, and this layer is the big one.
COPY pyproject.toml README.md /src/
RUN mkdir /src/appliance && touch /src/appliance/__init__.py \
 && /opt/appliance/bin/pip install --constraint /src/constraints.txt "/src[postgres]" \
 && /opt/appliance/bin/pip uninstall --yes rlhf-appliance && rm -rf /src/build /src/*.egg-info
COPY appliance /src/appliance
RUN /opt/appliance/bin/pip install --no-deps /src
# Says what the image holds, for preflight; fails when torch is not the build that was promised.
RUN /opt/appliance/bin/python -m appliance.preflight.manifest --cuda "$CUDA" /etc/appliance/image.json \
 && /opt/appliance/bin/pip uninstall --yes pip setuptools wheel \
 && find /opt/appliance -name __pycache__ -prune -exec rm -rf {} +

FROM ${BASE}
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="RLHF appliance" \
      org.opencontainers.image.description="Reinforcement learning from human feedback on one VM" \
      org.opencontainers.image.version="${VERSION}"
COPY --from=build /opt/appliance /opt/appliance
COPY --from=build /etc/appliance /etc/appliance
COPY configs /opt/appliance/configs
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /data --shell /usr/sbin/nologin appliance \
 && install -d -o 10001 -g 10001 /data /models
ENV PATH=/opt/appliance/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    APPLIANCE_DATA=/data APPLIANCE_MODELS=/models \
    HF_HOME=/data/cache/hub XDG_CACHE_HOME=/tmp/cache TRITON_CACHE_DIR=/tmp/cache/triton MPLCONFIGDIR=/tmp/cache/matplotlib \
    NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 10001:10001
WORKDIR /opt/appliance
VOLUME ["/data"]
EXPOSE 7860
# For `serve`; compose.yaml gives the other services their own.
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=4 \
  CMD ["python3", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:7860/healthz', timeout=4)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["appliance"]
CMD ["serve", "--host", "0.0.0.0"]
