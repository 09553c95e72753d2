"""Load generation: requests sent on schedule by one sender or several, and the record of each request."""
