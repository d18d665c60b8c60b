"""Remedies that several checks share: lines to paste on Ubuntu 22.04 and 24.04."""

INSTALL_DRIVER = """\
sudo apt-get update
sudo apt-get install -y linux-modules-nvidia-580-server-$(uname -r) nvidia-headless-no-dkms-580-server nvidia-utils-580-server
sudo reboot"""

REBOOT = "sudo reboot"

REBOOT_THEN_POWER_CYCLE = """\
sudo reboot
# the same again? Power the VM off and on in Prism (that resets the card), then
sudo nvidia-bug-report.sh   # and open a hardware case with this file"""

ADD_GPU = """\
lspci -nn -d 10de:   # empty: the VM has no GPU
# Prism Central: power off the VM -> Update -> Add GPU -> Passthrough -> choose the card -> power on"""

RESIZE_VM = "# Prism Central: power off the VM -> Update -> change the size -> power on"

NVIDIA_TOOLKIT = """\
sudo apt-get install -y nvidia-container-toolkit nvidia-container-toolkit-base libnvidia-container-tools libnvidia-container1
sudo nvidia-ctk runtime configure --runtime=docker
sudo systemctl restart docker"""

DOCKER = """\
sudo install -m 0755 -d /etc/apt/keyrings
sudo curl -fsSL https://download.docker.com/linux/ubuntu/gpg -o /etc/apt/keyrings/docker.asc
REPO="https://download.docker.com/linux/ubuntu $(. /etc/os-release; echo $VERSION_CODENAME) stable"
echo "deb [signed-by=/etc/apt/keyrings/docker.asc] $REPO" | sudo tee /etc/apt/sources.list.d/docker.list
sudo apt-get update
sudo apt-get install -y docker-ce docker-ce-cli containerd.io docker-compose-plugin"""

BLACKLIST_NOUVEAU = """\
printf 'blacklist nouveau\\noptions nouveau modeset=0\\n' | sudo tee /etc/modprobe.d/blacklist-nouveau.conf
sudo update-initramfs -u
sudo reboot"""

DEVICE_NODES = """\
sudo nvidia-modprobe -u -c=0
sudo systemctl enable --now nvidia-persistenced   # makes them again at every boot"""

REPLACE_GRID = """\
sudo nvidia-uninstall || sudo apt-get purge -y 'nvidia-linux-grid*'   # .run file, or packages
"""
REPLACE_GRID += INSTALL_DRIVER

ATTACH_WHOLE_GPU = "# Prism Central: power off the VM -> Update -> GPU -> Passthrough instead of vGPU -> power on"

GRID_DRIVER = """\
# take the guest driver that fits the host's vGPU software from NVIDIA's licensing portal, then
sudo apt-get install -y ./nvidia-linux-grid-*.deb
sudo reboot"""

VGPU_LICENCE = """\
sudo cp client_configuration_token_*.tok /etc/nvidia/ClientConfigToken/
sudo systemctl restart nvidia-gridd
nvidia-smi -q | grep -A2 'vGPU Software'"""

HOLD_DRIVER = """\
LIST='"linux-"; "nvidia-"; "libnvidia-"; "xserver-xorg-video-nvidia-";'
echo "Unattended-Upgrade::Package-Blacklist { $LIST };" | sudo tee /etc/apt/apt.conf.d/51keep-driver
# from now on kernel and driver upgrade together, by hand: sudo apt-get update && sudo apt-get upgrade && sudo reboot"""

GROW_DISK = """\
df -h; sudo du -xhd2 / 2>/dev/null | sort -h | tail -15   # what fills it
# or Prism Central: VM -> Update -> Disks -> grow the disk, then (partition 1 of /dev/sda is an example, see lsblk):
sudo growpart /dev/sda 1 && sudo resize2fs /dev/sda1"""

TOOLKIT_REPOSITORY = """\
KEY=/usr/share/keyrings/nvidia-container-toolkit-keyring.gpg
curl -fsSL https://nvidia.github.io/libnvidia-container/gpgkey | sudo gpg --dearmor --yes -o $KEY
curl -fsSL https://nvidia.github.io/libnvidia-container/stable/deb/nvidia-container-toolkit.list |
  sed "s#deb https://#deb [signed-by=$KEY] https://#" | sudo tee /etc/apt/sources.list.d/nvidia-container-toolkit.list
sudo apt-get update"""

STOP_GPU_USERS = """\
sudo fuser -v /dev/nvidia*   # who has the card open
# then stop that service or container, for example: docker stop NAME"""

REMOVE_SNAP = """\
docker ps -a   # what runs in the snap ends with it
sudo snap remove docker
hash -r"""

KEEP_DEVICES = """\
sudo nvidia-ctk system create-dev-char-symlinks --create-all   # until the next boot
# for good: hand the GPU over by CDI, or add this line to /etc/docker/daemon.json and restart docker
#   "exec-opts": ["native.cgroupdriver=cgroupfs"]"""
