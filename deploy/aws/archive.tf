# The archive's bucket. What it is and denies is in locked_bucket.

module "archive" {
  source                 = "./locked_bucket"
  bucket                 = var.bucket
  mode                   = var.mode
  retention_days_min     = var.retention_days_min
  retention_days_default = var.retention_days_default
  transition_days        = var.transition_days
  kms_key_arn            = aws_kms_key.archive.arn
}
