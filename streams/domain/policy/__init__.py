"""What a policy demands: the policy, its ladder, judgements, and which policy is in force when.

It may import `domain.exchange`.
"""
