"""What tokens are worth and what they mean."""
