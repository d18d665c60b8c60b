locals {
  gib = 1024 * 1024 * 1024

  user_data = templatefile("${path.module}/../cloud-init/user-data.yaml", {
    hostname            = var.name
    ssh_authorized_keys = jsonencode(var.ssh_public_keys)
    docker_apt_url      = var.docker_apt_url
    docker_apt_key      = filebase64(var.docker_apt_key_file)
    toolkit_apt_url     = var.toolkit_apt_url
    toolkit_apt_key     = filebase64(var.toolkit_apt_key_file)
    toolkit_version     = var.toolkit_version
    kernel_flavour      = var.kernel_flavour
    preflight_program   = filebase64("${path.module}/../ansible/roles/preflight/files/rlhf-preflight")
  })
}

resource "nutanix_virtual_machine_v2" "appliance" {
  name                 = var.name
  description          = "RLHF appliance: one GPU by passthrough"
  num_sockets          = var.sockets
  num_cores_per_socket = var.cores_per_socket
  memory_size_bytes    = var.memory_gib * local.gib
  machine_type         = "Q35"
  power_state          = "ON"

  # A passthrough VM cannot be moved while it runs, so nothing is gained by overcommitting.
  is_memory_overcommit_enabled = false

  cluster {
    ext_id = var.cluster_id
  }

  boot_config {
    uefi_boot {
      is_secure_boot_enabled = var.secure_boot
    }
  }

  disks {
    disk_address {
      bus_type = "SCSI"
      index    = 0
    }
    backing_info {
      vm_disk {
        disk_size_bytes = var.boot_disk_gib * local.gib
        storage_container {
          ext_id = var.storage_container_id
        }
        data_source {
          reference {
            image_reference {
              image_ext_id = var.image_id
            }
          }
        }
      }
    }
  }

  # cloud-init finds this one as /dev/sdb, formats it once and mounts it by its label.
  disks {
    disk_address {
      bus_type = "SCSI"
      index    = 1
    }
    backing_info {
      vm_disk {
        disk_size_bytes = var.data_disk_gib * local.gib
        storage_container {
          ext_id = var.storage_container_id
        }
      }
    }
  }

  nics {
    nic_network_info {
      virtual_ethernet_nic_network_info {
        nic_type  = "NORMAL_NIC"
        vlan_mode = "ACCESS"
        subnet {
          ext_id = var.subnet_id
        }
      }
    }
  }

  gpus {
    mode      = "PASSTHROUGH_COMPUTE"
    vendor    = "NVIDIA"
    device_id = var.gpu_device_id
  }

  guest_customization {
    config {
      cloud_init {
        cloud_init_script {
          user_data {
            value = base64encode(local.user_data)
          }
        }
      }
    }
  }

  lifecycle {
    # Both are used once, when the VM is made; Prism empties and reorders them afterwards.
    ignore_changes = [guest_customization, cd_roms]

    precondition {
      condition     = var.sockets * var.cores_per_socket >= 4
      error_message = "The appliance needs 4 vCPUs; it is made for 16."
    }
  }
}
