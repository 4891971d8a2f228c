# Two keys: one signs checkpoints and never leaves KMS, one encrypts the archive. Neither can do the other's work.

resource "aws_kms_key" "signing" {
  description              = "Signs checkpoints of Ledgerline (RSASSA_PSS_SHA_256)"
  key_usage                = "SIGN_VERIFY"
  customer_master_key_spec = var.signing_key_spec
  # A signing key is not rotated in place: a new one is made, declared as a leaf, and the old one is kept to verify with.
  enable_key_rotation     = false
  deletion_window_in_days = 30
  policy                  = data.aws_iam_policy_document.signing_key.json
  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_kms_key" "archive" {
  description             = "Encrypts the archive of Ledgerline"
  enable_key_rotation     = true
  deletion_window_in_days = 30
  policy                  = data.aws_iam_policy_document.archive_key.json
  lifecycle {
    prevent_destroy = true
  }
}

data "aws_iam_policy_document" "signing_key" {
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
    sid       = "SignCheckpoints"
    actions   = ["kms:Sign"]
    resources = ["*"]
    principals {
      type        = "AWS"
      identifiers = var.service_principals
    }
    condition {
      test     = "StringEquals"
      variable = "kms:SigningAlgorithm"
      values   = ["RSASSA_PSS_SHA_256"]
    }
  }
  statement {
    sid       = "ReadThePublicKey"
    actions   = ["kms:DescribeKey", "kms:GetPublicKey"]
    resources = ["*"]
    principals {
      type        = "AWS"
      identifiers = concat(var.service_principals, var.auditor_principals)
    }
  }
}

data "aws_iam_policy_document" "archive_key" {
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
    sid       = "WriteAndReadObjects"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
    resources = ["*"]
    principals {
      type        = "AWS"
      identifiers = var.service_principals
    }
    condition {
      test     = "StringEquals"
      variable = "kms:ViaService"
      values   = ["s3.${module.archive.region}.amazonaws.com"]
    }
  }
  statement {
    sid       = "ReadObjects"
    actions   = ["kms:Decrypt"]
    resources = ["*"]
    principals {
      type        = "AWS"
      identifiers = concat(var.auditor_principals, [aws_iam_role.replication.arn])
    }
  }
}

locals {
  # Nothing that signs, encrypts or decrypts. Whoever may change this policy could let themselves: watch kms:PutKeyPolicy in CloudTrail.
  key_administration = [
    "kms:CancelKeyDeletion",
    "kms:DescribeKey",
    "kms:DisableKey",
    "kms:EnableKey",
    "kms:EnableKeyRotation",
    "kms:GetKeyPolicy",
    "kms:GetKeyRotationStatus",
    "kms:ListResourceTags",
    "kms:PutKeyPolicy",
    "kms:ScheduleKeyDeletion",
    "kms:TagResource",
    "kms:UntagResource",
    "kms:UpdateKeyDescription",
  ]
}
