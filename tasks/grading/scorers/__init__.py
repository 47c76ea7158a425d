"""One scorer per kind of answer, and what they share."""
