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
