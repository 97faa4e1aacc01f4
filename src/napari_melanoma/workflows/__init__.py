"""What a user asks for, as one plain function each."""
