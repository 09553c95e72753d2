"""Our own measured tables: twelve models over batch size, CPU cores or GPU share and memory, and precision."""
