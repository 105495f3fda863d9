"""How a message reaches a destination: mail, webhooks, chat. No ledger, no Kafka."""
