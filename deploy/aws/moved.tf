# Where the two buckets were written out before locked_bucket was a module: what is there is moved in the state, and nothing is made anew.

moved {
  from = aws_s3_bucket.archive
  to   = module.archive.aws_s3_bucket.locked
}

moved {
  from = aws_s3_bucket_versioning.archive
  to   = module.archive.aws_s3_bucket_versioning.locked
}

moved {
  from = aws_s3_bucket_object_lock_configuration.archive
  to   = module.archive.aws_s3_bucket_object_lock_configuration.locked
}

moved {
  from = aws_s3_bucket_public_access_block.archive
  to   = module.archive.aws_s3_bucket_public_access_block.locked
}

moved {
  from = aws_s3_bucket_ownership_controls.archive
  to   = module.archive.aws_s3_bucket_ownership_controls.locked
}

moved {
  from = aws_s3_bucket_server_side_encryption_configuration.archive
  to   = module.archive.aws_s3_bucket_server_side_encryption_configuration.locked
}

moved {
  from = aws_s3_bucket_lifecycle_configuration.archive
  to   = module.archive.aws_s3_bucket_lifecycle_configuration.locked
}

moved {
  from = aws_s3_bucket_policy.archive
  to   = module.archive.aws_s3_bucket_policy.locked
}

moved {
  from = aws_s3_bucket.replica
  to   = module.replica.aws_s3_bucket.locked
}

moved {
  from = aws_s3_bucket_versioning.replica
  to   = module.replica.aws_s3_bucket_versioning.locked
}

moved {
  from = aws_s3_bucket_object_lock_configuration.replica
  to   = module.replica.aws_s3_bucket_object_lock_configuration.locked
}

moved {
  from = aws_s3_bucket_public_access_block.replica
  to   = module.replica.aws_s3_bucket_public_access_block.locked
}

moved {
  from = aws_s3_bucket_ownership_controls.replica
  to   = module.replica.aws_s3_bucket_ownership_controls.locked
}

moved {
  from = aws_s3_bucket_server_side_encryption_configuration.replica
  to   = module.replica.aws_s3_bucket_server_side_encryption_configuration.locked
}

moved {
  from = aws_s3_bucket_lifecycle_configuration.replica
  to   = module.replica.aws_s3_bucket_lifecycle_configuration.locked
}

moved {
  from = aws_s3_bucket_policy.replica
  to   = module.replica.aws_s3_bucket_policy.locked
}
