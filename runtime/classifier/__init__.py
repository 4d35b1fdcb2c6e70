"""What adapting to a support set gives, and what it says about itself."""
