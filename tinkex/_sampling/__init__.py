"""One sample: submission, admission, the wait for its result, and what samples of one service share."""
