"""What people read in their language: sentences, dates, words for a status and a notice, and their catalogues."""
