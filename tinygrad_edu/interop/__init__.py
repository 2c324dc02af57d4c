"""Files and other tools: what keeps a model, and what takes it elsewhere."""
