variable "bucket" {
  description = "Name of the archive's bucket: --archive s3://<bucket>/<prefix>."
  type        = string
}

variable "replica_bucket" {
  description = "Name of the bucket that holds the copy."
  type        = string
}

variable "mode" {
  description = "Object Lock mode: --archive-lock. Begin with GOVERNANCE: what COMPLIANCE locks by mistake stays, and is paid for, until its time is over."
  type        = string
  default     = "GOVERNANCE"
  validation {
    condition     = contains(["GOVERNANCE", "COMPLIANCE"], var.mode)
    error_message = "GOVERNANCE or COMPLIANCE."
  }
}

variable "retention_days_min" {
  description = "No object may be written that is locked for less. Ledgerline locks each for --archive-retention-days from when its youngest leaf was sealed; an object that is archived late has less of them left. It must be less than the shortest --archive-class-retention-days: every put of a class with a shorter time is refused, and the service ends."
  type        = number
  default     = 2500
}

variable "retention_days_default" {
  description = "What the bucket itself locks an object for that says nothing. Ledgerline always says."
  type        = number
  default     = 2557
}

variable "transition_days" {
  description = "After so many days an object moves to a cheaper class (GLACIER_IR: still read at once, so that verify works)."
  type        = number
  default     = 90
}

variable "signing_key_spec" {
  description = "RSA_2048, RSA_3072 or RSA_4096."
  type        = string
  default     = "RSA_3072"
}

variable "service_principals" {
  description = "ARNs of the roles that `ledgerline run` runs as."
  type        = list(string)
}

variable "auditor_principals" {
  description = "ARNs of the roles that may read the archive and its public keys, and nothing else."
  type        = list(string)
  default     = []
}

variable "counsel_principals" {
  description = "ARNs of the roles that may set and release legal holds of objects by hand, without the service."
  type        = list(string)
  default     = []
}

variable "key_administrators" {
  description = "ARNs of the roles that administer the keys. They cannot sign."
  type        = list(string)
}

variable "replica_writers" {
  description = "ARNs of the roles that may archive into the replica's bucket, when the first one is lost and the ledger goes on there. Nobody until then."
  type        = list(string)
  default     = []
}
