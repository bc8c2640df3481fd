/** The contract's types, as a frontend sees them. `tsc` is what runs these. */
import { createClient, type Problem } from "../src/index.ts";

const api = createClient({ baseUrl: "http://localhost:8080" });

export async function answersHaveTheContractsTypes(): Promise<void> {
  const { data, error } = await api.GET("/api/v1/auth/me");
  if (data) {
    const role: "fan" | "artist" | "producer" | "admin" = data.role;
    const name: string | null = data.display_name;
    void [role, name];
    // @ts-expect-error there is no such field
    data.password;
  } else {
    const problem: Problem = error;
    void problem;
  }
}

export async function problemsAreToldApartByTheirCode(): Promise<void> {
  const { error } = await api.POST("/api/v1/auth/magic-link/verify", { body: { token: "t" } });
  if (error?.code === "magic_link.confirmation_required") {
    const email: string = error.email;
    void email;
  }
  // @ts-expect-error no such problem is in the contract
  if (error?.code === "magic_link.lost") return;
}

export async function requestsAreHeldToTheContract(): Promise<void> {
  // @ts-expect-error email is missing
  await api.POST("/api/v1/auth/magic-link/request", { body: {} });
  // @ts-expect-error a number is no name
  await api.PATCH("/api/v1/auth/me", { body: { display_name: 7 } });
  // @ts-expect-error no such path
  await api.GET("/api/v1/auth/you");
  await api.DELETE("/api/v1/auth/sessions/{session_id}", { params: { path: { session_id: "…" } } });
}
