"""The batch engine on Faust: one Kafka transaction per partition batch. It knows nothing of mail."""
