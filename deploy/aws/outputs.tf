output "archive" {
  description = "For --archive; put a prefix behind it."
  value       = "s3://${module.archive.id}"
}

output "kms_key_arn" {
  description = "For KMS_KEY_ARN, with SIGNING_KEY_PROVIDER=aws_kms."
  value       = aws_kms_key.signing.arn
}

output "archive_kms_key_arn" {
  description = "For --archive-kms-key, as it is: the bucket's policy compares ARNs."
  value       = aws_kms_key.archive.arn
}

output "replica" {
  description = "For `ledgerline restore --from`, `verify` and `scrub` of the copy; put the prefix behind it."
  value       = "s3://${module.replica.id}"
}

output "replica_kms_key_arn" {
  description = "For --archive-kms-key, of a ledger that goes on in the replica's bucket."
  value       = aws_kms_key.replica.arn
}
