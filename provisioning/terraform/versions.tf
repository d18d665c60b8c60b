terraform {
  required_version = ">= 1.5.0"

  required_providers {
    nutanix = {
      source = "nutanix/nutanix"
      # 2.4.1 brought the nic_network_info block and deprecated the one before it.
      version = "~> 2.4, >= 2.4.1"
    }
  }
}

# Address and credentials of Prism Central come from the environment, so that no file and no state holds them:
#   NUTANIX_ENDPOINT, NUTANIX_USERNAME, NUTANIX_PASSWORD
provider "nutanix" {
  port     = 9440
  insecure = false
}
