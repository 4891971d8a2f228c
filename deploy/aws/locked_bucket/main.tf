# A bucket in which what is written stays until its retention is over: no principal of the application can change that. The archive is one, and its copy another.

resource "aws_s3_bucket" "locked" {
  bucket              = var.bucket
  object_lock_enabled = true
  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_s3_bucket_versioning" "locked" {
  bucket = aws_s3_bucket.locked.id
  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_object_lock_configuration" "locked" {
  bucket = aws_s3_bucket.locked.id
  rule {
    default_retention {
      mode = var.mode
      days = var.retention_days_default
    }
  }
}

resource "aws_s3_bucket_public_access_block" "locked" {
  bucket                  = aws_s3_bucket.locked.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

# What is put is the bucket's owner's, also where another account puts it: whoever owns an object decides who reads it.
resource "aws_s3_bucket_ownership_controls" "locked" {
  bucket = aws_s3_bucket.locked.id
  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "locked" {
  bucket = aws_s3_bucket.locked.id
  rule {
    bucket_key_enabled = true
    apply_server_side_encryption_by_default {
      sse_algorithm     = "aws:kms"
      kms_master_key_id = var.kms_key_arn
    }
  }
}

# Nothing expires: only classes change, and parts of an upload that nobody finished go. Ledgerline itself makes no multipart uploads.
resource "aws_s3_bucket_lifecycle_configuration" "locked" {
  bucket = aws_s3_bucket.locked.id
  rule {
    id     = "cheaper-classes"
    status = "Enabled"
    filter {
      # Tiles and checkpoints are smaller than what a cheaper class charges at least.
      object_size_greater_than = 131072
    }
    transition {
      days          = var.transition_days
      storage_class = "GLACIER_IR"
    }
  }
  rule {
    id     = "abort-multipart-uploads"
    status = "Enabled"
    filter {}
    abort_incomplete_multipart_upload {
      days_after_initiation = 1
    }
  }
}

resource "aws_s3_bucket_policy" "locked" {
  bucket = aws_s3_bucket.locked.id
  policy = data.aws_iam_policy_document.locked.json
}

data "aws_iam_policy_document" "locked" {
  source_policy_documents = var.policies

  statement {
    sid     = "TlsOnly"
    effect  = "Deny"
    actions = ["s3:*"]
    resources = [
      aws_s3_bucket.locked.arn,
      "${aws_s3_bucket.locked.arn}/*",
    ]
    principals {
      type        = "*"
      identifiers = ["*"]
    }
    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }

  # Whoever may, may not: root of the account could take this statement away, which is an entry of CloudTrail.
  statement {
    sid    = "NothingIsDeletedOrUnlocked"
    effect = "Deny"
    actions = [
      "s3:BypassGovernanceRetention",
      "s3:DeleteObject",
      "s3:DeleteObjectVersion",
      # A delete that is copied is a delete.
      "s3:ReplicateDelete",
    ]
    resources = ["${aws_s3_bucket.locked.arn}/*"]
    principals {
      type        = "*"
      identifiers = ["*"]
    }
  }

  # What follows is of who puts objects. Replication puts none: it has an action of its own, and brings the lock of each along, however late; its role is left out all the same.
  # A name is written once. Without this an object could be put over another, as a second version.
  statement {
    sid       = "NamesAreWrittenOnce"
    effect    = "Deny"
    actions   = ["s3:PutObject"]
    resources = ["${aws_s3_bucket.locked.arn}/*"]
    principals {
      type        = "*"
      identifiers = ["*"]
    }
    condition {
      test     = "Null"
      variable = "s3:if-none-match"
      values   = ["true"]
    }
    condition {
      test     = "Bool"
      variable = "s3:ObjectCreationOperation"
      values   = ["true"]
    }
    dynamic "condition" {
      for_each = length(var.copiers) > 0 ? [var.copiers] : []
      content {
        test     = "ArnNotEquals"
        variable = "aws:PrincipalArn"
        values   = condition.value
      }
    }
  }

  statement {
    sid       = "RetentionIsLong"
    effect    = "Deny"
    actions   = ["s3:PutObject", "s3:PutObjectRetention"]
    resources = ["${aws_s3_bucket.locked.arn}/*"]
    principals {
      type        = "*"
      identifiers = ["*"]
    }
    condition {
      test     = "NumericLessThan"
      variable = "s3:object-lock-remaining-retention-days"
      values   = [tostring(var.retention_days_min)]
    }
    dynamic "condition" {
      for_each = length(var.copiers) > 0 ? [var.copiers] : []
      content {
        test     = "ArnNotEquals"
        variable = "aws:PrincipalArn"
        values   = condition.value
      }
    }
  }

  # Of what is new. What is there keeps its mode, and is locked for longer in it, also when var.mode is another by then: S3 itself lets nobody weaken it.
  statement {
    sid       = "ModeIsOne"
    effect    = "Deny"
    actions   = ["s3:PutObject"]
    resources = ["${aws_s3_bucket.locked.arn}/*"]
    principals {
      type        = "*"
      identifiers = ["*"]
    }
    condition {
      test     = "StringNotEqualsIfExists"
      variable = "s3:object-lock-mode"
      values   = [var.mode]
    }
    dynamic "condition" {
      for_each = length(var.copiers) > 0 ? [var.copiers] : []
      content {
        test     = "ArnNotEquals"
        variable = "aws:PrincipalArn"
        values   = condition.value
      }
    }
  }

  statement {
    sid       = "EncryptedWithItsKey"
    effect    = "Deny"
    actions   = ["s3:PutObject"]
    resources = ["${aws_s3_bucket.locked.arn}/*"]
    principals {
      type        = "*"
      identifiers = ["*"]
    }
    condition {
      test     = "StringNotEqualsIfExists"
      variable = "s3:x-amz-server-side-encryption-aws-kms-key-id"
      values   = [var.kms_key_arn]
    }
    dynamic "condition" {
      for_each = length(var.copiers) > 0 ? [var.copiers] : []
      content {
        test     = "ArnNotEquals"
        variable = "aws:PrincipalArn"
        values   = condition.value
      }
    }
  }
}
