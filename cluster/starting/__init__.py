"""How a Ray is started or joined: on loopback and with a token, and with which files of a service."""
