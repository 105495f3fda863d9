"""Examines a running installation from its topics, and says what is wrong and where that is explained."""
