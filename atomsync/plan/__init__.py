"""What will be done, thought through before anything is touched. Pure: no disk, no clock.

change  one path, what it holds and what it shall hold; changes: those of a unit, as a collection
step    one action of a plan: a swap of one path, with its whole subtree, or a metadata change
plan    the changes of a unit brought into normal form (an antichain of steps), in order
guards  reasons to refuse a plan before it is staged
limit   how many entries one unit may take away
"""
