"""Documents for those who read or write the topics, made from the code: the page of all topics, and AsyncAPI.

It stands above every other package, since it asks all of them what they write.
"""
