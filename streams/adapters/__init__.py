"""What connects the rules to files and wires."""
