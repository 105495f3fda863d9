"""The Avro schemas of every record on the wire, and the registry of all their versions (`registry.json`)."""
