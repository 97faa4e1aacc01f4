"""Many slides over several processes or machines: who does which, what became of each, and what is tried again."""
