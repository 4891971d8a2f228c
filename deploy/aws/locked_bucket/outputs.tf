output "id" {
  value = aws_s3_bucket.locked.id
}

output "arn" {
  value = aws_s3_bucket.locked.arn
}

output "region" {
  value = aws_s3_bucket.locked.region
}
