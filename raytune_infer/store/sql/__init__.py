"""What databases differ in: types of columns, and SQLite's own ways."""
