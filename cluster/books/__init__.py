"""The built-in price books, one YAML file each; `cluster.prices` reads them."""
