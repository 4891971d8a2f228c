variable "bucket" {
  description = "Name of the bucket."
  type        = string
}

variable "mode" {
  description = "Object Lock mode, of what is new and of what says nothing."
  type        = string
}

variable "retention_days_min" {
  description = "No object may be put that is locked for less."
  type        = number
}

variable "retention_days_default" {
  description = "What the bucket itself locks an object for that says nothing."
  type        = number
}

variable "transition_days" {
  description = "After so many days an object moves to a cheaper class."
  type        = number
}

variable "kms_key_arn" {
  description = "The key that encrypts what is in it, and no other does."
  type        = string
}

variable "copiers" {
  description = "ARNs of the roles that copy objects into it with the locks that they have."
  type        = list(string)
  default     = []
}

variable "policies" {
  description = "Policy documents whose statements are its too."
  type        = list(string)
  default     = []
}
