def page(f,r,p): return "todo"
