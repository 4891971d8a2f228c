# What each kind of user may do. Attach them to the roles; the bucket's own policy denies what nobody may.

resource "aws_iam_policy" "service" {
  name        = "${var.bucket}-service"
  description = "What `ledgerline run` needs of the archive and of the signing key"
  policy      = data.aws_iam_policy_document.service.json
}

data "aws_iam_policy_document" "service" {
  statement {
    sid = "WriteAndReadObjects"
    actions = [
      "s3:GetObject",
      "s3:GetObjectLegalHold",
      "s3:GetObjectRetention",
      "s3:GetObjectVersion",
      "s3:PutObject",
      # To give an object its retention when it is written. It cannot shorten one: the bucket's policy, and COMPLIANCE, see to that.
      "s3:PutObjectRetention",
    ]
    resources = ["${module.archive.arn}/*"]
  }
  # To put objects of a class that is on hold, held, and to tell those that are there: of a hold, and of its release. `ledgerline hold` writes both into the
  # log, and nobody but the service tells the archive. A hold protects from the end of retention; what protects from the service is the retention.
  statement {
    sid       = "HoldAndRelease"
    actions   = ["s3:PutObjectLegalHold"]
    resources = ["${module.archive.arn}/*"]
  }
  statement {
    sid = "LookAtTheBucket"
    actions = [
      "s3:GetBucketObjectLockConfiguration",
      "s3:GetBucketPolicy",
      "s3:GetBucketVersioning",
      "s3:GetEncryptionConfiguration",
      "s3:GetLifecycleConfiguration",
      "s3:ListBucket",
      "s3:ListBucketVersions",
    ]
    resources = [module.archive.arn]
  }
  statement {
    sid       = "Sign"
    actions   = ["kms:DescribeKey", "kms:GetPublicKey", "kms:Sign"]
    resources = [aws_kms_key.signing.arn]
  }
  statement {
    sid       = "EncryptAndDecrypt"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
    resources = [aws_kms_key.archive.arn]
  }
}

resource "aws_iam_policy" "auditor" {
  name        = "${var.bucket}-auditor"
  description = "Reads the archive and verifies it; changes nothing"
  policy      = data.aws_iam_policy_document.auditor.json
}

data "aws_iam_policy_document" "auditor" {
  statement {
    sid = "ReadObjects"
    actions = [
      "s3:GetObject",
      "s3:GetObjectLegalHold",
      "s3:GetObjectRetention",
      "s3:GetObjectVersion",
    ]
    resources = ["${module.archive.arn}/*"]
  }
  statement {
    sid       = "ListObjects"
    actions   = ["s3:ListBucket", "s3:ListBucketVersions"]
    resources = [module.archive.arn]
  }
  statement {
    sid       = "ReadThePublicKey"
    actions   = ["kms:DescribeKey", "kms:GetPublicKey"]
    resources = [aws_kms_key.signing.arn]
  }
  statement {
    sid       = "Decrypt"
    actions   = ["kms:Decrypt"]
    resources = [aws_kms_key.archive.arn]
  }
}

resource "aws_iam_policy" "counsel" {
  name        = "${var.bucket}-counsel"
  description = "Sets and releases legal holds of objects by hand. `ledgerline hold` needs the log, and nothing of this: the service tells the archive"
  policy      = data.aws_iam_policy_document.counsel.json
}

data "aws_iam_policy_document" "counsel" {
  statement {
    sid       = "Hold"
    actions   = ["s3:GetObjectLegalHold", "s3:PutObjectLegalHold"]
    resources = ["${module.archive.arn}/*"]
  }
  statement {
    sid       = "ListObjects"
    actions   = ["s3:ListBucket", "s3:ListBucketVersions"]
    resources = [module.archive.arn]
  }
}

resource "aws_iam_policy" "recovery" {
  name        = "${var.bucket}-recovery"
  description = "Reads the copy of the archive: `ledgerline restore`, `verify` and `scrub` of it"
  policy      = data.aws_iam_policy_document.recovery.json
}

data "aws_iam_policy_document" "recovery" {
  statement {
    sid     = "ReadCopies"
    actions = local.read_copies
    resources = [
      module.replica.arn,
      "${module.replica.arn}/*",
    ]
  }
  statement {
    sid       = "DecryptCopies"
    actions   = ["kms:Decrypt"]
    resources = [aws_kms_key.replica.arn]
  }
}

resource "aws_iam_role_policy_attachment" "service" {
  for_each   = { for arn in var.service_principals : arn => element(split("/", arn), length(split("/", arn)) - 1) }
  role       = each.value
  policy_arn = aws_iam_policy.service.arn
}

resource "aws_iam_role_policy_attachment" "auditor" {
  for_each   = { for arn in var.auditor_principals : arn => element(split("/", arn), length(split("/", arn)) - 1) }
  role       = each.value
  policy_arn = aws_iam_policy.auditor.arn
}

resource "aws_iam_role_policy_attachment" "counsel" {
  for_each   = { for arn in var.counsel_principals : arn => element(split("/", arn), length(split("/", arn)) - 1) }
  role       = each.value
  policy_arn = aws_iam_policy.counsel.arn
}

resource "aws_iam_role_policy_attachment" "recovery" {
  for_each   = { for arn in concat(var.service_principals, var.auditor_principals) : arn => element(split("/", arn), length(split("/", arn)) - 1) }
  role       = each.value
  policy_arn = aws_iam_policy.recovery.arn
}
