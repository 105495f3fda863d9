"""What follows from the records that are read: rows, intervals, counts and days. Pure, by records of the topics."""
