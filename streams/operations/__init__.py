"""What an operator does with the topics: dead letters, states, backup, another partition count."""
