"""Acting without torch: what a policy sees and may do, and the policy half of every network in numpy.

Whoever loads a policy needs this room and no learner: `spaces` and `parts` turn Gymnasium's spaces into plain facts and
rows, `architecture` says which network suits them, `inference` and `graph_inference` evaluate it. The networks that
learn, in torch, are built from the same descriptions (`agents.networks`); an import contract keeps torch out of here.
"""
