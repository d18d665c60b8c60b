"""Which engine a config asks for, made for a policy."""

from appliance import parts
from appliance.config import ppo as config
from appliance.engines._encoder_decoder import EncoderDecoderEngine
from appliance.engines._sampling import Sampling
from appliance.models.policy import Policy
from appliance.ppo.types import Engine


def engine_name(policy: Policy, wanted: str) -> str:
    """`wanted`, or for auto: cuda_graph on a GPU, eager on a CPU, or compiled; plain where the policy cannot be read packed.

    Weights in 8 or 4 bits are never decoded from a graph: what they are unpacked into would be captured with it.
    """
    if not policy.packs:
        return "plain"
    if policy.quantized and wanted in ("auto", "cuda_graph", "compiled"):
        return "eager"
    if wanted in ("auto", "compiled"):  # a report reads the policies of a compiled run anew, and does not compile them
        return "compiled" if policy.compiled else "cuda_graph" if policy.device.type == "cuda" else "eager"
    return wanted


def make_engine(policy: Policy, options: config.Sampling, stop_ids: tuple[int, ...]) -> Engine:
    """The engine for `options`; a response ends at one of `stop_ids` unless sampling.stop_at_eos is off."""
    sampling = Sampling(
        temperature=options.temperature,
        top_k=options.top_k,
        top_p=options.top_p,
        stop_ids=stop_ids if options.stop_at_eos else (),
    )
    engine: Engine = parts.load("engines", engine_name(policy, options.engine)).make(policy, sampling)
    if options.engine == "cuda_graph" and isinstance(engine, EncoderDecoderEngine):
        engine.fallback = "an encoder-decoder model is written by its own forward"
    return engine
