# A copy in another region, locked alike: an account can be closed, and a region can be lost. Best in another account, whose owner is another person.

# What is put there, by whoever archives there when the first bucket is lost (var.replica_writers), must be as in the first one: of its policy is what locked_bucket has, too.
module "replica" {
  source                 = "./locked_bucket"
  bucket                 = var.replica_bucket
  mode                   = var.mode
  retention_days_min     = var.retention_days_min
  retention_days_default = var.retention_days_default
  transition_days        = var.transition_days
  kms_key_arn            = aws_kms_key.replica.arn
  copiers                = [aws_iam_role.replication.arn]
  policies               = [data.aws_iam_policy_document.copies.json]
  providers = {
    aws = aws.replica
  }
}

# Of the copy alone.
data "aws_iam_policy_document" "copies" {
  # A copy that somebody else put is none. Of a role that is assumed, aws:PrincipalArn is the role's.
  statement {
    sid    = "OnlyCopiesAreWritten"
    effect = "Deny"
    actions = [
      "s3:PutObject",
      "s3:PutObjectLegalHold",
      "s3:PutObjectRetention",
      "s3:ReplicateObject",
      "s3:ReplicateTags",
    ]
    resources = ["${module.replica.arn}/*"]
    principals {
      type        = "*"
      identifiers = ["*"]
    }
    condition {
      test     = "ArnNotEquals"
      variable = "aws:PrincipalArn"
      values   = concat([aws_iam_role.replication.arn], var.replica_writers)
    }
  }

  # Both are needed where the replica is another account's, and say who may where it is not.
  statement {
    sid       = "CopiesOfTheArchive"
    actions   = ["s3:ReplicateObject", "s3:ReplicateTags"]
    resources = ["${module.replica.arn}/*"]
    principals {
      type        = "AWS"
      identifiers = [aws_iam_role.replication.arn]
    }
  }
  statement {
    sid       = "WhereCopiesGo"
    actions   = ["s3:GetBucketVersioning"]
    resources = [module.replica.arn]
    principals {
      type        = "AWS"
      identifiers = [aws_iam_role.replication.arn]
    }
  }
  statement {
    sid     = "ReadCopies"
    actions = local.read_copies
    resources = [
      module.replica.arn,
      "${module.replica.arn}/*",
    ]
    principals {
      type        = "AWS"
      identifiers = concat(var.service_principals, var.auditor_principals)
    }
  }
  # Nobody, as long as nobody is named.
  dynamic "statement" {
    for_each = length(var.replica_writers) > 0 ? [var.replica_writers] : []
    content {
      sid     = "GoOnHere"
      actions = concat(local.read_copies, local.write_copies)
      resources = [
        module.replica.arn,
        "${module.replica.arn}/*",
      ]
      principals {
        type        = "AWS"
        identifiers = statement.value
      }
    }
  }
}

locals {
  # What `ledgerline restore`, `verify` and `scrub` ask of a bucket.
  read_copies = [
    "s3:GetObject",
    "s3:GetObjectLegalHold",
    "s3:GetObjectRetention",
    "s3:GetObjectVersion",
    "s3:ListBucket",
    "s3:ListBucketVersions",
  ]
  # What `run` and `doctor` need beside it, where the ledger goes on in the replica's bucket.
  write_copies = [
    "s3:GetBucketObjectLockConfiguration",
    "s3:GetBucketPolicy",
    "s3:GetBucketVersioning",
    "s3:GetEncryptionConfiguration",
    "s3:GetLifecycleConfiguration",
    "s3:PutObject",
    "s3:PutObjectLegalHold",
    "s3:PutObjectRetention",
  ]
}

resource "aws_kms_key" "replica" {
  provider                = aws.replica
  description             = "Encrypts the copy of the archive of Ledgerline"
  enable_key_rotation     = true
  deletion_window_in_days = 30
  policy                  = data.aws_iam_policy_document.replica_key.json
  lifecycle {
    prevent_destroy = true
  }
}

data "aws_iam_policy_document" "replica_key" {
  statement {
    sid       = "Administer"
    actions   = local.key_administration
    resources = ["*"]
    principals {
      type        = "AWS"
      identifiers = var.key_administrators
    }
  }
  statement {
    sid       = "WriteCopies"
    actions   = ["kms:Encrypt", "kms:GenerateDataKey"]
    resources = ["*"]
    principals {
      type        = "AWS"
      identifiers = [aws_iam_role.replication.arn]
    }
  }
  statement {
    sid       = "ReadObjects"
    actions   = ["kms:Decrypt"]
    resources = ["*"]
    principals {
      type        = "AWS"
      identifiers = concat(var.service_principals, var.auditor_principals)
    }
  }
  # Nobody, as long as nobody is named.
  dynamic "statement" {
    for_each = length(var.replica_writers) > 0 ? [var.replica_writers] : []
    content {
      sid       = "WriteObjects"
      actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
      resources = ["*"]
      principals {
        type        = "AWS"
        identifiers = statement.value
      }
    }
  }
}

resource "aws_s3_bucket_replication_configuration" "archive" {
  depends_on = [module.archive, module.replica]
  bucket     = module.archive.id
  role       = aws_iam_role.replication.arn
  rule {
    id     = "everything"
    status = "Enabled"
    filter {}
    # A delete marker hides an object. None is to be made, and none is copied.
    delete_marker_replication {
      status = "Disabled"
    }
    source_selection_criteria {
      sse_kms_encrypted_objects {
        status = "Enabled"
      }
    }
    destination {
      bucket = module.replica.arn
      encryption_configuration {
        replica_kms_key_id = aws_kms_key.replica.arn
      }
    }
  }
}

resource "aws_iam_role" "replication" {
  name               = "${var.bucket}-replication"
  assume_role_policy = data.aws_iam_policy_document.replication_trust.json
}

data "aws_iam_policy_document" "replication_trust" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["s3.amazonaws.com"]
    }
    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [data.aws_caller_identity.current.account_id]
    }
  }
}

resource "aws_iam_role_policy" "replication" {
  role   = aws_iam_role.replication.id
  policy = data.aws_iam_policy_document.replication.json
}

# Retention and holds are copied with what they lock because the role may read them. It may neither delete nor bypass, and puts nothing.
data "aws_iam_policy_document" "replication" {
  statement {
    actions   = ["s3:GetReplicationConfiguration", "s3:ListBucket"]
    resources = [module.archive.arn]
  }
  statement {
    actions = [
      "s3:GetObjectLegalHold",
      "s3:GetObjectRetention",
      "s3:GetObjectVersionAcl",
      "s3:GetObjectVersionForReplication",
      "s3:GetObjectVersionTagging",
    ]
    resources = ["${module.archive.arn}/*"]
  }
  statement {
    actions   = ["s3:ReplicateObject", "s3:ReplicateTags"]
    resources = ["${module.replica.arn}/*"]
  }
  statement {
    actions   = ["kms:Decrypt"]
    resources = [aws_kms_key.archive.arn]
  }
  statement {
    actions   = ["kms:Encrypt", "kms:GenerateDataKey"]
    resources = [aws_kms_key.replica.arn]
  }
}
