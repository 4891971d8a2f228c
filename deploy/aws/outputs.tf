output "archive" {
  description = "For --archive; put a prefix behind it."
  value       = "s3://${aws_s3_bucket.archive.id}"
}

output "kms_key_arn" {
  description = "For KMS_KEY_ARN, with SIGNING_KEY_PROVIDER=aws_kms."
  value       = aws_kms_key.signing.arn
}

output "archive_kms_key_arn" {
  description = "For --archive-kms-key, as it is: the bucket's policy compares ARNs."
  value       = aws_kms_key.archive.arn
}
