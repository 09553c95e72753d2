"""Services that run already: an OpenAI endpoint as a client sees it, and requests that are each sent once."""
