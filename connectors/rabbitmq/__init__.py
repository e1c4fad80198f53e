"""RabbitMQ: documents come from a queue, notifications go to an exchange."""
