variable "name" {
  type        = string
  default     = "rlhf-appliance"
  description = "Name of the VM and its host name."

  validation {
    condition     = can(regex("^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$", var.name))
    error_message = "A host name: lower-case letters, digits and hyphens, beginning with a letter, at most 63."
  }
}

variable "cluster_id" {
  type        = string
  description = "UUID of the AHV cluster that has the GPU."

  validation {
    condition     = can(regex("^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", var.cluster_id))
    error_message = "A UUID in lower case, as Prism Central shows it."
  }
}

variable "subnet_id" {
  type        = string
  description = "UUID of the subnet of the VM's one network card."

  validation {
    condition     = can(regex("^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", var.subnet_id))
    error_message = "A UUID in lower case, as Prism Central shows it."
  }
}

variable "image_id" {
  type        = string
  description = "UUID of an Ubuntu 22.04 or 24.04 cloud image in Prism Central's image service."

  validation {
    condition     = can(regex("^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", var.image_id))
    error_message = "A UUID in lower case, as Prism Central shows it."
  }
}

variable "storage_container_id" {
  type        = string
  description = "UUID of the storage container for both disks."

  validation {
    condition     = can(regex("^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", var.storage_container_id))
    error_message = "A UUID in lower case, as Prism Central shows it."
  }
}

variable "sockets" {
  type        = number
  default     = 2
  description = "Virtual CPU sockets."

  validation {
    condition     = var.sockets >= 1 && floor(var.sockets) == var.sockets
    error_message = "A whole number, 1 or more."
  }
}

variable "cores_per_socket" {
  type        = number
  default     = 8
  description = "Cores of each socket; 2 sockets of 8 are the 16 vCPUs that the appliance is made for."

  validation {
    condition     = var.cores_per_socket >= 1 && floor(var.cores_per_socket) == var.cores_per_socket
    error_message = "A whole number, 1 or more."
  }
}

variable "memory_gib" {
  type        = number
  default     = 64
  description = "Memory of the VM in GiB. It is not overcommitted: a passthrough VM has all of it pinned."

  validation {
    condition     = var.memory_gib >= 16 && floor(var.memory_gib) == var.memory_gib
    error_message = "A whole number of GiB, 16 or more."
  }
}

variable "boot_disk_gib" {
  type        = number
  default     = 100
  description = "Size of the boot disk in GiB. A disk cloned from an image may keep the image's size: preflight looks."

  validation {
    condition     = var.boot_disk_gib >= 40
    error_message = "40 GiB or more: the driver, Docker and the logs lie there."
  }
}

variable "data_disk_gib" {
  type        = number
  default     = 500
  description = "Size of the data disk in GiB: runs, models, the image, the store."

  validation {
    condition     = var.data_disk_gib >= 100
    error_message = "100 GiB or more: the image alone takes about 10, and a checkpoint of a 7B model 80."
  }
}

variable "gpu_device_id" {
  type        = number
  default     = 8433
  description = "PCI device id of the card, decimal: 8433 A100 PCIe 40 GB, 8373 A100 PCIe 80 GB, 8368 and 8370 A100 SXM4."

  validation {
    condition     = var.gpu_device_id >= 1 && var.gpu_device_id <= 65535 && floor(var.gpu_device_id) == var.gpu_device_id
    error_message = "A PCI device id as a decimal number: 0x20f1 is 8433."
  }
}

variable "secure_boot" {
  type        = bool
  default     = false
  description = "UEFI secure boot. The driver packages of Ubuntu are signed and load with it; others do not."
}

variable "ssh_public_keys" {
  type        = list(string)
  description = "Public keys of the administrators; there is no password."

  validation {
    condition = length(var.ssh_public_keys) > 0 && alltrue([
      for key in var.ssh_public_keys : can(regex("^(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp[0-9]+) [A-Za-z0-9+/=]+( [^\n\"]*)?$", key))
    ])
    error_message = "At least one public key, each on one line: ssh-ed25519 AAAA... name."
  }
}

variable "docker_apt_url" {
  type        = string
  description = "Docker's package repository for Ubuntu, or the site's mirror of it."

  validation {
    condition     = can(regex("^https?://[^ ]+$", var.docker_apt_url))
    error_message = "A URL beginning with http:// or https://."
  }
}

variable "docker_apt_key_file" {
  type        = string
  description = "File with that repository's public key, ASCII-armoured."
}

variable "toolkit_apt_url" {
  type        = string
  description = "NVIDIA's container toolkit repository (stable, deb), or the site's mirror of it."

  validation {
    condition     = can(regex("^https?://[^ ]+$", var.toolkit_apt_url))
    error_message = "A URL beginning with http:// or https://."
  }
}

variable "toolkit_apt_key_file" {
  type        = string
  description = "File with that repository's public key, ASCII-armoured."
}

variable "toolkit_version" {
  type        = string
  default     = "1.17.8-1"
  description = "Version of the container toolkit's packages; 1.17.7 and older let a container out (CVE-2025-23266)."

  validation {
    condition = can(regex("^[0-9]+\\.[0-9]+\\.[0-9]+-[0-9]+$", var.toolkit_version)) && (
      tonumber(split(".", var.toolkit_version)[0]) * 1000000
      + tonumber(split(".", var.toolkit_version)[1]) * 1000
      + tonumber(split("-", split(".", var.toolkit_version)[2])[0]) >= 1017008
    )
    error_message = "A package version such as 1.17.8-1, and 1.17.8 or newer."
  }
}

variable "kernel_flavour" {
  type        = string
  default     = "generic"
  description = "Kernel that the signed driver modules are for."

  validation {
    condition     = contains(["generic", "generic-hwe-22.04", "generic-hwe-24.04"], var.kernel_flavour)
    error_message = "generic, generic-hwe-22.04 or generic-hwe-24.04: what `uname -r` and the image's release say."
  }
}
