"""From conversations to clips: messages, their media, the host's processor, and what the generator gets."""
