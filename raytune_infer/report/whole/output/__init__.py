"""The whole report as it leaves: a file, or a page that goes on while its study runs."""
