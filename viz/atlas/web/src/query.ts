// The box for SQL: a named query is shown when it is chosen, Ctrl+Enter runs.

export function addQuery(form: HTMLFormElement, named: HTMLFormElement | null): void {
  const select = named?.querySelector("select");
  const button = named?.querySelector("button");
  if (button) button.hidden = true;
  select?.addEventListener("change", () => named!.submit());
  form.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    form.requestSubmit();
  });
}
