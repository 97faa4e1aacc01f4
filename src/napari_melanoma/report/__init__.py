"""What a person reads at the end: figures and pages made from results."""
