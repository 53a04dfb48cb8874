"""Text with signs of markup and no markup in it: nothing may change in any of it."""

from __future__ import annotations

C = r"""
#include <stdio.h>
/* A ring of *fixed* size; head_ and tail_ chase one another. */
typedef struct ring { char *slots; size_t n_slots, *marks; } ring_t;
static int put_(ring_t *ring, const char **from, int *left) {
    while (*left > 0 && ring->n_slots * 2 > *ring->marks) { *ring->slots++ = **from; (*from)++; --*left; }
    int area = ring->n_slots * 3 * sizeof(*ring), *p = &area, **pp = &p;
    return **pp * *p / (*left ? *left : 1);
}
char *first = argv[1], *second = argv[2];
"""
RUST = r"""
use std::collections::{HashMap, HashSet as Set_};
impl<'a> Tree_<'a> {
    fn sum(&self, by: fn(*const u8) -> usize) -> usize { let _ = by; self.leaf_count * 2 * self.depth_ }
    unsafe fn raw(p: *mut u8, q: *mut u8) { *p = *q; let _unused = *p * *q; }
}
match pair_ { (_, _) => (), [_first, .., _last] => todo!("[a](b)"), _ => unreachable!() }
let x = *counts.entry(key).or_insert(0) * *total;
"""
JAVASCRIPT = r"""
/**
 * Adds what it is given.
 * @param {...number} terms_
 */
const _private = 1, $el_ = 2, cube = (a) => a ** 3 ** 2;
function* walk(tree_) { yield* tree_.left; yield tree_.value; yield* tree_.right; }
const byName = handlers[name](event) || rows[i](x.y), re = /^_*[*]+(\/\*.*\*\/)?_$/;
import * as path_ from "path"; export * from "./_all_.js";
"""
JAVA = r"""
import java.util.*; import static org.junit.Assert.*;
public final class Grid_ { private static final int MAX_ROWS = 4 * 1024 * 1024, _MIN = 1_000_000;
  /** Rows times columns. */
  long cells(int r_, int c_) { return (long) r_ * c_ * MAX_ROWS; } // r_*c_*MAX
}
"""
SHELL = r"""
for f in *.txt *_old.* ~/backup_*/**/*.log; do mv "$f" "${f%_*}_$(date +%s)_${USER}_"; done
find . -name '*_test_*' -o -name "*.py[co]" | xargs grep -l '__main__' > /tmp/list_$$_ 2>&1
echo $((2 * 3 * $N)) $* "$@" && ls [a-z]*(x) && export PATH_=_:$PATH
case "$1" in start*) run_it;; *) echo "usage: $0 [start] (.sh)";; esac
"""
SQL = r"""
SELECT *, a.*, COUNT(*) AS n_rows_, price * qty * 1.2 AS total_ FROM order_items AS _o
JOIN [dbo].[user_](id) ON _o.user_id = user_.id WHERE name LIKE '%\_x\_%' AND note LIKE '_a%' -- * all * rows
GROUP BY 1, 2 HAVING SUM(a * b) > 2 * 3;
"""
HASKELL = r"""
module Data.Sum_ (prod', (*), sum_) where
prod' = foldr (*) 1; square x = x * x; _ignored = map (*2) . filter (/= 0)
area r = pi * r ** 2; f _ 0 = []; f g_ n = g_ <*> pure n *> f g_ (n - 1)
go (_:_:xs) = [x * y | x <- xs, y <- xs]
"""
LATEX = r"""
\documentclass[a4paper]{article} \usepackage{amsmath}
\begin{align*} x_{i}^* &= \sum_{j=1}^{n_*} a_{ij} * b_j^* \\ \hat{y}_k &= \mathbf{w}_k^\top \mathbf{x}_k \end{align*}
Let $f_*$ be the push-forward, $g^*$ the pull-back; then $(f_* g^*)_n = f_*^n * g^*_n$, and \(a_*b_*\), \[c*d*e_f\].
\section*{Results} See~\cite{knuth_1984,lamport_94} and Table~\ref{tab:my_table_1}. \begin{figure*}[t]\end{figure*}
"""
TABLE = """
| name_of_it | * | x*y | a_b |
|:-----------|--:|----:|-----|
| first_one  | 3 | 2*3 | _   |
| second_    | * | 4*5 | __  |

id_      qty*   unit_price   total_
1001     3      4.50         13.50 *
1002     12     0.75         9.00

* preliminary
"""
ADDRESSES = """
https://example.org/a_b_c/_index_.html?q=*x*&r=_y_#_z_
http://example.org/wiki/C_(programming_language)_and_*nix*
ftp://files.example.org/pub/*/latest_*/README_first_
file:///usr/share/doc/my_package/__init__.py
user_name@mail_host.example.org, \\\\server\\share_\\*.doc_ and C:\\my_dir\\_tmp_\\x_
s3://bucket_/prefix_*/part-*.parquet /usr/lib/_a_/b_c ./**/*.md
"""
PROSE = """
A plain text, 5 of 7 (or so); it's as it was. Its 2nd paragraph – with $5 or 6* – [sic] ends (see [3], [4])...

Footnotes* look like this,** and like this.***
* The first of them. ** The second one. *** The third.
Call me at 555_1234, my_snake_case friend; 2*3*4=24, 2**10=1024, a * b * c, and fill in: ____ and ___.
中文和 snake_case_名字 混合; 日本語の5*6*7; emoji 😀*😀 and café_naïve_été.
"""
SAMPLES = {
    name.lower(): text.strip("\n")
    for name, text in {
        "C": C, "Rust": RUST, "JavaScript": JAVASCRIPT, "Java": JAVA, "shell": SHELL, "SQL": SQL, "Haskell": HASKELL,
        "LaTeX": LATEX, "table": TABLE, "addresses": ADDRESSES, "prose": PROSE,
    }.items()
}  # fmt: skip
"""Kind of text → one of it."""
