"""Looking at what the branch sees and what the fusion does with it."""
