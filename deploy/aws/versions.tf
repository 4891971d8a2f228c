terraform {
  required_version = ">= 1.6"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.80"
      # The archive, and its copy in another region, best in another account.
      configuration_aliases = [aws.replica]
    }
  }
}

data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}
