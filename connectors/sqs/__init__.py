"""Amazon SQS: documents come from one queue, notifications go to another."""
