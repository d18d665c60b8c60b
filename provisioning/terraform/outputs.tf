output "vm_id" {
  value       = nutanix_virtual_machine_v2.appliance.ext_id
  description = "UUID of the VM."
}

output "vm_name" {
  value       = nutanix_virtual_machine_v2.appliance.name
  description = "Name of the VM; the inventory of provisioning/ansible takes its address, which Prism Central shows once it has one."
}
