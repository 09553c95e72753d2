"""What searchers start from: earlier studies, emulated services, and the training of what ships."""
